//! Cross-crate scenarios: models, crash simulation, real databases, an independent reader.
