"""From a camera's photos, or an archive of somebody's, to pairs that a network can be trained on."""
