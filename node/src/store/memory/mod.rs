//! The embedded store, and the model that every other store is held against.
