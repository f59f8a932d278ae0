"""Public diffusion models that `diffusion.py` compares with, at their own published settings.

A peer has `batch_size`, `step(x)`, one update of all it trains, and for images `sample(n)`; both
images and points come as they are ([0, 1] or the plane), the scaling is the peer's. Two are used as
installed: diffusers, and denoising-diffusion-pytorch, which is no dependency of the course:

    pip install --no-deps denoising-diffusion-pytorch==2.3.4 einops==0.8.2 ema-pytorch==0.8.3

Its imports of torchvision, accelerate and pytorch_fid are for its trainer and are met by stubs.
"""

import importlib.util
import sys
import types

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DDIM_STEPS = 50


class Installed:
    """A peer that is used as its authors publish it, if it is there."""

    name: str
    package: str

    @classmethod
    def installed(cls) -> bool:
        found = importlib.util.find_spec(cls.package) is not None
        if not found:
            print(f"  {cls.name} is left out: not installed, see diffusion_peers.py")
        return found


class Diffusers(Installed):
    """Hugging Face's diffusion course, unit 1, on MNIST: UNet2DModel with DDPMScheduler.

    Channels 32-64-64, two residual blocks a scale, attention in the lower two, cosine schedule of
    1000 steps, eps-prediction, Adam 1e-3, batch 128 (as in its comparison with a minimal U-Net).
    """

    name, batch_size, package = "diffusers", 128, "diffusers"

    def __init__(self, shape: tuple[int, int, int]) -> None:
        from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

        self.shape = shape
        self.net = UNet2DModel(
            sample_size=shape[1],
            in_channels=shape[0],
            out_channels=shape[0],
            layers_per_block=2,
            block_out_channels=(32, 64, 64),
            down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        )
        given = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
        self.forward_process, self.backward = DDPMScheduler(**given), DDIMScheduler(**given)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def step(self, x: Tensor) -> None:
        x = 2 * x - 1
        noise, t = torch.randn_like(x), torch.randint(0, 1000, (len(x),))
        found = self.net(self.forward_process.add_noise(x, noise, t), t, return_dict=False)[0]
        self.optimiser.zero_grad()
        F.mse_loss(found, noise).backward()
        self.optimiser.step()

    @torch.no_grad()
    def sample(self, n: int, steps: int = DDIM_STEPS) -> Tensor:
        self.net.eval()
        self.backward.set_timesteps(steps)
        x = torch.randn(n, *self.shape)
        for t in self.backward.timesteps:
            x = self.backward.step(self.net(x, t, return_dict=False)[0], t, x).prev_sample
        self.net.train()
        return (x + 1) / 2


class DenoisingDiffusion(Installed):
    """lucidrains/denoising-diffusion-pytorch: Unet of 32 channels, all else as its defaults.

    v-prediction, sigmoid schedule of 1000 steps; as in its README Adam 8e-5 (0.9, 0.99), batch 32,
    and an average of the weights (0.995, every 10 steps). Four scales where the sides allow it.
    """

    name, batch_size, package = "denoising-diffusion-pytorch", 32, "denoising_diffusion_pytorch"

    def __init__(self, shape: tuple[int, int, int]) -> None:
        _stub("torchvision.transforms", "torchvision.utils", "accelerate", "pytorch_fid.fid_score")
        _stub("pytorch_fid.inception")
        from denoising_diffusion_pytorch import GaussianDiffusion, Unet
        from ema_pytorch import EMA

        scales = (1, 2, 4, 8) if shape[1] % 8 == 0 else (1, 2, 4)
        net = Unet(dim=32, dim_mults=scales, channels=shape[0])
        self.model = GaussianDiffusion(net, image_size=shape[1], sampling_timesteps=DDIM_STEPS)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=8e-5, betas=(0.9, 0.99))
        self.average = EMA(self.model, beta=0.995, update_every=10)

    def step(self, x: Tensor) -> None:
        loss = self.model(x)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.average.update()

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        from denoising_diffusion_pytorch import denoising_diffusion_pytorch as its

        its.tqdm = lambda steps, **_: steps  # no progress bars
        self.average.ema_model.eval()
        return self.average.ema_model.sample(batch_size=n)


class TinyDiffusion(nn.Module):
    """tanelp/tiny-diffusion on points: a perceptron on sinusoidal codes of x, y and t.

    128 wide, three residual layers, codes of 128 numbers (coordinates times 25), AdamW 1e-3, batch
    32, gradient norm 1; the schedule is the benchmark's.
    """

    name, batch_size = "tiny-diffusion", 32

    def __init__(self, signal: Tensor, noise: Tensor) -> None:
        super().__init__()
        self.signal, self.sd = signal, noise
        self.first = nn.Linear(3 * 128, 128)
        self.layers = nn.ModuleList(nn.Linear(128, 128) for _ in range(3))
        self.last = nn.Linear(128, 2)
        self.optimiser = torch.optim.AdamW(self.parameters(), lr=1e-3)

    @staticmethod
    def code(value: Tensor, scale: float) -> Tensor:
        rates = 10_000.0 ** -(torch.arange(64) / 63)
        angles = scale * value[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        coordinates = [self.code(x[:, i], 25.0) for i in (0, 1)]
        h = F.gelu(self.first(torch.cat([*coordinates, self.code(t.float(), 1.0)], dim=1)))
        for layer in self.layers:
            h = h + F.gelu(layer(h))
        return self.last(h)

    def step(self, x: Tensor) -> None:
        t = torch.randint(1, len(self.signal), (len(x),))
        eps = torch.randn_like(x)
        xt = self.signal[t, None] * x + self.sd[t, None] * eps
        loss = F.mse_loss(self(xt, t), eps)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()


def _stub(*names: str) -> None:
    """Empty modules under these names, if there are no real ones; any attribute is a class."""
    for name in names:
        top = name.partition(".")[0]
        if top not in sys.modules and importlib.util.find_spec(top) is not None:
            continue
        for part in (top, name):
            if part not in sys.modules:
                module = types.ModuleType(part)
                module.__getattr__ = lambda attribute: type(attribute, (), {})
                module.__spec__, module.__path__ = None, []
                sys.modules[part] = module
        if name != top:
            setattr(sys.modules[top], name.rpartition(".")[2], sys.modules[name])
