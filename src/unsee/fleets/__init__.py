"""Many models of one recipe from independent seeds: what a verdict and per-image attacks rest on.

A fleet is a folder.  Its ``config.json`` says what every model of it has in common; a model is
trained once, and one that is there already is never trained again.
"""

from unsee.fleets._images import fleet_answers as fleet_answers
from unsee.fleets._members import Member as Member, train as train
from unsee.fleets._oracles import oracles as oracles, recipe as recipe
from unsee.fleets._references import reference_values as reference_values
