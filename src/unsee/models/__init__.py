"""Build, save and load classifiers.  Normalisation belongs to the model: all others pass 0..1."""

from unsee.models._architectures import (
    Factory as Factory,
    blueprint as blueprint,
    without_code as without_code,
)
from unsee.models._checkpoint import (
    Checkpoint as Checkpoint,
    pack as pack,
    pack_pt as pack_pt,
    read as read,
)
from unsee.models._layers import (
    FROZEN as FROZEN,
    answers_for as answers_for,
    frozen as frozen,
    head as head,
    named_output as named_output,
    output_layer as output_layer,
    reinitialised as reinitialised,
    trained_weights as trained_weights,
)
from unsee.models._layout import channels_last as channels_last
from unsee.models._normalise import normalise as normalise, pixel_unit as pixel_unit
from unsee.models._places import Places as Places, places as places
from unsee.models._published import Published as Published, published as published
from unsee.models._small_maps import small_maps as small_maps
from unsee.models._stages import (
    StageMeans as StageMeans,
    blocks as blocks,
    stage_of_weights as stage_of_weights,
    stages as stages,
)
