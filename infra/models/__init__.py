"""Language-model files on this machine: which there are, where they come from, what they weigh."""
