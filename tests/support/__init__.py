"""Helpers that several test files share: servers, engines, clients, programs to compile."""
