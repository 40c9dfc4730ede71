"""What a model looks at and how near it sees images, so that two models can be compared.

Grad-CAM is unscaled, and the feature maps of all models share one plane.
"""

from unsee.explanation._gradcam import (
    gradcam as gradcam,
    gradcams as gradcams,
    saliency as saliency,
)
from unsee.explanation._layers import (
    explained_layer as explained_layer,
    mapped_stages as mapped_stages,
)
from unsee.explanation._look import (
    control as control,
    look_closely as look_closely,
    pictures as pictures,
)
from unsee.explanation._plane import plane as plane
