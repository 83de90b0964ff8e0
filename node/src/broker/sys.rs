//! What the Server says of itself under `$SYS/`.
