"""The command line; ``fanfold --help`` teaches it."""
