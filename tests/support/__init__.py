"""What several test files need: helpers, programs to build, engines that stand in."""
