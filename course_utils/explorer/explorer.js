// Below the controls of `explore` (widgets.py), run by anywidget, once for each view.
//
// It shows a picture that the kernel has drawn ahead in the moment in which a control moves there.
// The kernel sends the same picture a little later, into the notebook's output. And it does what
// ipywidgets leaves out: handles, readouts and rows of buttons get their label as their name,
// buttons say which one is pressed, what has the focus is seen, and a figure that stands still for
// a second has its description read out.

const KEPT = 32; // pictures, as in pictures.py

const PARTS = `<style>
.widget-slider .noUi-handle:focus-visible, .jupyter-button.widget-toggle-button:focus-visible,
.widget-readout:focus-visible { outline: 3px solid #0072B2; outline-offset: 2px; }
</style><span role="status" style="position: absolute; width: 1px; height: 1px; overflow: hidden;
clip-path: inset(50%)"></span>`;

const frame = () => new Promise(requestAnimationFrame);

/** One name for the same places of all controls: a step of a slider may end in ...001. */
const nameOf = (places) =>
  places.map((place) => (typeof place === "number" ? place.toPrecision(9) : place)).join();

/** The last pictures of the kernel, by the places of the controls. */
class Known {
  pictures = new Map();

  receive({ at, alt, png, forget }) {
    if (forget) return this.pictures.clear();
    const picture = new Image();
    Object.assign(picture, { alt, src: `data:image/png;base64,${png}` });
    picture.decode(); // now, while nobody waits for it
    this.pictures.set(nameOf(at), picture);
    if (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value);
  }

  /** Show the picture of these places, where it is known. */
  show(places, image) {
    const picture = this.pictures.get(nameOf(places));
    if (!picture || !image) return;
    for (const part of ["alt", "src"])
      if (image[part] !== picture[part]) image[part] = picture[part];
  }
}

/** Names and states for the controls of a box. */
function nameControls(box) {
  const set = (node, values) => {
    for (const [name, value] of Object.entries(values)) node?.setAttribute(name, value);
  };
  for (const row of box.children) {
    const label = row.querySelector(".widget-label")?.textContent;
    if (!label) continue;
    set(row.querySelector("[role=slider]"), { "aria-label": label });
    set(row.querySelector(".widget-readout"), {
      role: "textbox",
      "aria-label": `${label}, as a number`,
    });
    if (row.matches(".widget-toggle-buttons")) set(row, { role: "group", "aria-label": label });
  }
  for (const button of box.querySelectorAll(".widget-toggle-button"))
    set(button, { "aria-pressed": button.classList.contains("mod-active") });
}

/** A function that reads a new description out when it has stood still for a second. */
function reader(status) {
  let last, waiting;
  return (alt) => {
    if (!alt || alt === last) return;
    clearTimeout(waiting);
    if (last) waiting = setTimeout(() => { status.textContent = alt; }, 1000);
    last = alt;
  };
}

async function controlsOf(model) {
  const ids = model.get("controls").map((id) => id.replace("IPY_MODEL_", ""));
  return Promise.all(ids.map((id) => model.widget_manager.get_model(id)));
}

async function render({ model, el }) {
  el.innerHTML = PARTS;
  const controls = await controlsOf(model);
  const known = new Known();
  const read = reader(el.querySelector("[role=status]"));
  const output = () => el.closest(".jp-OutputArea-child")?.nextElementSibling;
  const image = () => output()?.querySelector("img");
  const show = () =>
    known.show(controls.map((control) => control.get("index") ?? control.get("value")), image());
  const watched = [];
  const watch = (node, options, changed) => {
    watched.push(new MutationObserver(changed));
    watched.at(-1).observe(node, { subtree: true, childList: true, ...options });
    changed();
  };
  const receive = (message) => { known.receive(message); show(); };

  model.on("msg:custom", receive);
  for (const control of controls) control.on("change", show);
  let over = false;
  (async () => {
    while (!el.isConnected && !over) await frame();
    if (over) return;
    const box = el.closest(".widget-vbox");
    watch(box, { attributeFilter: ["class"] }, () => nameControls(box));
    // The kernel's picture of a moment ago may come when the controls stand elsewhere again.
    const area = el.closest(".jp-OutputArea");
    if (area) watch(area, {}, () => { show(); read(image()?.alt); });
  })();
  return () => {
    over = true;
    for (const one of watched) one.disconnect();
    model.off("msg:custom", receive);
    for (const control of controls) control.off("change", show);
  };
}

export default { render };
