//! What admins do with policies: change them under a running host, check them, and ask what is in force.

mod reload;
