//! Header names that mean something to the house, and how to tell them from look-alikes (rows H1–H3, H15).
