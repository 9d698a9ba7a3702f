"""Objects followed through clips and streams: the session, one step, the loop over a clip."""
