"""Further chapters: what a lesson leaves out, each for whoever has a reason to open it."""
