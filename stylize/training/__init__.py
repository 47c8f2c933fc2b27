"""How the networks are trained, refined, distilled and measured. Everything here needs torch."""
