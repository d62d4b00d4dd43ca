//! What holds for all names, policies and arguments.


