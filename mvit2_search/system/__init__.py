"""Files, locks, signals, standard error, text and strict YAML: nothing here knows of networks."""
