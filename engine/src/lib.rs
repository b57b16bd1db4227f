//! Events, commands, state, decide/admit/evolve, and the store that ties them to a journal.
