"""Personal styles: their codes and files, what ``--style`` names, mixtures, the library."""
