"""Small Llama models over bytes, read from a Hugging Face checkpoint and run with numpy alone."""
