"""Stages that people run on GPUs, in plain PyTorch: see docs/python-examples.md of onepiece-rdma."""
