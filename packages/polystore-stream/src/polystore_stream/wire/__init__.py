"""The protocol: messages, the places that paths lead to, and shared memory. No sockets."""
