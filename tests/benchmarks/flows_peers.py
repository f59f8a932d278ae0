"""Public flows with their published settings: RealNVP in our own words, normflows as installed.

normflows is no dependency: `pip install --no-deps normflows==1.7.3`. A peer has `batch_size`,
`optimiser()`, `log_prob(x)`, `loss(x)` and `sample(n)`.
"""

import importlib.util

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal


class RealNvp(nn.Module):
    """jmtomczak/intro_dgm, flows/realnvp_example.ipynb: eight affine couplings, each then a flip.

    Networks of s (tanh at the end) and t with two hidden layers of 256, LeakyReLU; Adamax 1e-3,
    batches of 64, data as they are. Published, levels are blurred by half a bin, which is no
    likelihood of the levels; here by a whole one.
    """

    name, batch_size = "intro_dgm RealNVP", 64

    def __init__(self, x: Tensor, couplings: int = 8, hidden: int = 256) -> None:
        super().__init__()
        self.D = x.shape[1]

        def net(*last: nn.Module) -> nn.Sequential:
            first = [nn.Linear(self.D // 2, hidden), nn.LeakyReLU()]
            second = [nn.Linear(hidden, hidden), nn.LeakyReLU()]
            return nn.Sequential(*first, *second, nn.Linear(hidden, self.D // 2), *last)

        self.s = nn.ModuleList(net(nn.Tanh()) for _ in range(couplings))
        self.t = nn.ModuleList(net() for _ in range(couplings))

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adamax(self.parameters(), lr=1e-3)

    @property
    def base(self) -> Independent:
        return Independent(Normal(torch.zeros(self.D), torch.ones(self.D)), 1)

    def log_prob(self, x: Tensor) -> Tensor:
        log_det = x.new_zeros(len(x))
        for s_net, t_net in zip(self.s, self.t, strict=True):
            a, b = x.chunk(2, dim=1)
            s = s_net(a)
            x = torch.cat([a, (b - t_net(a)) * (-s).exp()], dim=1).flip(1)
            log_det = log_det - s.sum(dim=1)
        return self.base.log_prob(x) + log_det

    def loss(self, x: Tensor) -> Tensor:
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        x = self.base.sample((n,))
        for s_net, t_net in zip(reversed(self.s), reversed(self.t), strict=True):
            a, b = x.flip(1).chunk(2, dim=1)
            x = torch.cat([a, s_net(a).exp() * b + t_net(a)], dim=1)
        return x


class NeuralSpline(nn.Module):
    """normflows, examples/neural_spline_flow.ipynb, with the package's coupled splines.

    Sixteen couplings of 8 bins, residual networks of two blocks of 128, each then a linear map by
    its LU factors; Adam 1e-3, weight decay 1e-5, batches of 512. For images four couplings and
    batches of 64: sixteen or eight reach too few steps, and worse figures. Its splines end at +-3,
    so it is given data of mean 0 and variance 1.
    """

    name = "normflows neural spline"

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec("normflows") is not None

    def __init__(self, x: Tensor, hidden: int = 128, blocks: int = 2) -> None:
        super().__init__()
        import normflows as nf

        D = x.shape[1]
        self.batch_size, couplings = (512, 16) if D == 2 else (64, 4)
        self.mean, self.sd = x.mean(), x.std()
        layers = []
        for _ in range(couplings):
            layers.append(nf.flows.CoupledRationalQuadraticSpline(D, blocks, hidden))
            layers.append(nf.flows.LULinearPermute(D))
        self.flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(D, trainable=False), layers)

    def optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3, weight_decay=1e-5)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob((x - self.mean) / self.sd) - x.shape[1] * self.sd.log()

    def loss(self, x: Tensor) -> Tensor:
        return -self.log_prob(x).mean()

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        return self.flow.sample(n)[0] * self.sd + self.mean
