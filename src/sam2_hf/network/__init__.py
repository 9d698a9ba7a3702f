"""SAM 2 as the paper draws it, in its plain form: trunk, neck, prompts, decoder, memory."""
