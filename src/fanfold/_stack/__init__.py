"""The local AWS stack: the emulator, deployments to it, and the demo."""
