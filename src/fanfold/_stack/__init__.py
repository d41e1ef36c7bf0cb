"""The local AWS: the emulator, deployments to it, and the demo."""
