"""Images to keep, chosen when a model is trained, for when the training images are gone."""

from unsee.buffers._make import (
    PICKS as PICKS,
    digest_of as digest_of,
    make as make,
    quotas as quotas,
)
from unsee.buffers._place import Placed as Placed, emptied as emptied, placed as placed
from unsee.buffers._record import Buffer as Buffer, Moments as Moments, read as read
