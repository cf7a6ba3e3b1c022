"""What a distribution installs beside the program: system units, presets, completions; see README.md here."""
