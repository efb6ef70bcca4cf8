"""A model of Llama's shape whose prefill and decode are two stages."""
