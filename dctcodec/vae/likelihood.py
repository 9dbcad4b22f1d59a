"""p(x | z): Bernoulli for binary images, a mixture of discretised logistics for colours (Salimans et al. 2017, PixelCNN++); and the
divergence of Gaussians."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dctcodec.errors import ModelError
from dctcodec.vae.shapes import MIXTURES

_LOG_SCALE_MIN = -7.0


class Likelihood(ABC):
    """p(x | z) of images (B, channels, H, W) in [0, 1], given by a map of parameters (B, `parameters`, H, W)."""

    parameters: ClassVar[int]

    @classmethod
    @abstractmethod
    def log_likelihood(cls, images: Tensor, parameters: Tensor) -> Tensor:
        """ln p of each image, (B,)."""

    @classmethod
    @abstractmethod
    def mean(cls, parameters: Tensor) -> Tensor:
        """Expected image in [0, 1]."""

    @classmethod
    def moved(cls, parameters: Tensor, image: Tensor) -> Tensor:
        """The parameters with all means moved by an image in [0, 1]: 1/2 leaves them where they are. Raises ModelError where
        the likelihood has no such means."""
        raise ModelError("the likelihood of the model has no means to move: remove offset")


class Bernoulli(Likelihood):
    """Binary images (B, 1, H, W) of 0 and 1; parameters: logits of that shape."""

    parameters = 1

    @classmethod
    def log_likelihood(cls, images: Tensor, parameters: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(parameters, images, reduction="none").flatten(1).sum(1)

    @classmethod
    def mean(cls, parameters: Tensor) -> Tensor:
        return torch.sigmoid(parameters)


class LogisticMixture(Likelihood):
    """RGB images (B, 3, H, W) in [0, 1], multiples of 1/255; parameters (B, 100, H, W): per mixture a logit, three means, three
    log-scales and three coefficients, by which the mean of green depends on red and that of blue on both."""

    parameters = 10 * MIXTURES

    @classmethod
    def log_likelihood(cls, images: Tensor, parameters: Tensor) -> Tensor:
        x = (images * 2 - 1)[:, :, None]
        logits, means, log_scales, coefficients = cls._split(parameters)
        red, green = x[:, :1], x[:, 1:2]
        shift = torch.cat(
            [torch.zeros_like(means[:, :1]), coefficients[:, :1] * red, coefficients[:, 1:2] * red + coefficients[:, 2:] * green], 1
        )
        mass = _log_mass(x, means + shift, log_scales).sum(1)
        return torch.logsumexp(mass + torch.log_softmax(logits, 1), 1).flatten(1).sum(1)

    @classmethod
    def moved(cls, parameters: Tensor, image: Tensor) -> Tensor:
        means = (image * 2 - 1).repeat_interleave(MIXTURES, 1)
        batch, _, height, width = means.shape
        logits, others = (means.new_zeros(batch, count * MIXTURES, height, width) for count in (1, 6))
        return parameters + torch.cat([logits, means, others], 1)

    @classmethod
    def mean(cls, parameters: Tensor) -> Tensor:
        """Expected image in [0, 1]: each mixture's chain of conditional means, weighted."""
        logits, means, _, coefficients = cls._split(parameters)
        red = means[:, 0].clamp(-1, 1)
        green = (means[:, 1] + coefficients[:, 0] * red).clamp(-1, 1)
        blue = (means[:, 2] + coefficients[:, 1] * red + coefficients[:, 2] * green).clamp(-1, 1)
        weights = torch.softmax(logits, 1)
        return (torch.stack([(weights * plane).sum(1) for plane in (red, green, blue)], 1) + 1) / 2

    @staticmethod
    def _split(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (B, M, H, W), and means, log-scales, coefficients (B, 3, M, H, W)."""
        batch, _, height, width = parameters.shape
        # parts of channels-last rows are slow to compute with
        logits, rest = parameters.contiguous().split([MIXTURES, 9 * MIXTURES], 1)
        means, log_scales, coefficients = rest.reshape(batch, 3, 3, MIXTURES, height, width).unbind(1)
        return logits, means, log_scales.clamp_min(_LOG_SCALE_MIN), torch.tanh(coefficients)


def _log_mass(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """ln of a logistic's mass on x +- 1/255, the outer bins open."""
    inverse = torch.exp(-log_scale)
    centred = (x - mean) * inverse
    upper, lower = centred + inverse / 255, centred - inverse / 255
    # ln(sigmoid(u) - sigmoid(l)) = ln(1 - exp(l - u)) - softplus(-u) - softplus(l), stable far out
    inner = torch.log(-torch.expm1(-2 / 255 * inverse)) - F.softplus(-upper) - F.softplus(lower)
    return torch.where(x < -0.999, -F.softplus(-upper), torch.where(x > 0.999, -F.softplus(lower), inner))


LIKELIHOODS: dict[str, type[Likelihood]] = {"bernoulli": Bernoulli, "logistic-mixture": LogisticMixture}


def gaussian_divergence(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """KL(first, second) in nats, of each unit, of Gaussians given by mean and log standard deviation."""
    (mean, log_std), (other_mean, other_log_std) = first, second
    ratio = torch.exp(2 * (log_std - other_log_std))
    distance = (mean - other_mean) ** 2 * torch.exp(-2 * other_log_std)
    return (ratio + distance - 1) / 2 + other_log_std - log_std
