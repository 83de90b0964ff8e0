//! What matches a Topic Name, in time that grows with its levels and not with the number of filters.
