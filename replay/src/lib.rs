//! Fold any prefix, as-of views, verification, diff, history.
