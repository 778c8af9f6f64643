"""The measurements behind the README's figures; ``make bench`` prints them."""
