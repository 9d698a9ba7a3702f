"""SAM 2 and SAM 2.1 for Hugging Face Transformers."""
