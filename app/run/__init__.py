"""One job from crate to ``finished``: laying it out, running it, and reading what cargo, programs and machines say."""
