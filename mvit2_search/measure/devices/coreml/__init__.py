"""Core ML on a Mac: the device, which starts a process for each visit, and what runs in that process."""
