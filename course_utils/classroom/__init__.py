"""What goes between an instructor and students: released, updated, handed in."""
