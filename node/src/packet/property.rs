//! Properties (MQTT 5.0 section 2.2.2): identifiers, types, and which packet may carry which.

use bytestring::ByteString;

/// User Properties in the order in which they were sent; a name may stand more than once.
pub type UserProperties = Vec<(ByteString, ByteString)>;
