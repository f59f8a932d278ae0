"""What stands behind `widgets.explore`: pictures drawn ahead, figures redrawn, the page's side."""
