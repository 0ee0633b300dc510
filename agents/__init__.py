"""How an answer is made: search within a scope, evidence, composition, verification, release."""
