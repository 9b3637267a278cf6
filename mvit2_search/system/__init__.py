"""Files, locks, signals, standard error, text, strict YAML and tables of names: nothing here knows of networks."""
