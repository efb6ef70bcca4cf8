"""Wan2.1-I2V-14B: a picture and a prompt become a clip."""
