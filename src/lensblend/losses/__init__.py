"""Training criteria; conf/loss names and weighs them."""
