"""What a model looks at: Grad-CAM, unscaled, so that maps of two models can be compared."""

from unsee.explanation._gradcam import (
    explained_layer as explained_layer,
    gradcam as gradcam,
    saliency as saliency,
)
from unsee.explanation._look import look_closely as look_closely, pictures as pictures
