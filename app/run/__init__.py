"""Execute one job: lay out the crate, run the command, and turn what cargo, programs and machines print into events."""
