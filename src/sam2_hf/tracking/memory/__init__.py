"""Memory policies: which frames an object reads, which are kept, which are promoted."""
