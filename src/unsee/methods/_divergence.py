"""How far a model's answers are from a teacher's, softened: distillation's distance."""

from torch import Tensor
from torch.nn.functional import kl_div


def divergence(logits: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return T^2 KL(teacher || model) at temperature T, in nats and mean over images.

    T^2 keeps the size of gradients (Hinton et al., 2015, section 2).  The mean is over images
    alone: torch's default divides by the number of classes as well.

    Args:
        logits: ``[B, K]`` of the model.
        teacher: ``[B, K]``, logits too.
        temperature: by which both are divided.

    """
    student, told = (each.float() / temperature for each in (logits, teacher))
    distance = kl_div(
        student.log_softmax(1), told.log_softmax(1), reduction="batchmean", log_target=True
    )
    return distance * temperature**2
