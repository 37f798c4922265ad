"""What ``wdasync bench`` measures, and how; one module a noun.

=============  =====================================================================================
``cases``      what is asked, how often at a time: a table
``sides``      who does it: the accelerator and its peers, a table; and the other backends
``loops``      the event loops, and what each offers by itself
``samples``    one slice of a closed loop, and what is read off it
``works``      signatures, digests, ciphers and sequences: a table
``faults``     what a page fault costs
``rounds``     all sides in turn, again and again, on one event loop
``results``    medians, and medians of ratios
``targets``    ratios that are to be reached: a table
``machine``    where it was measured, and who else was busy there
``tables``, ``charts``, ``documents``   how it is shown
=============  =====================================================================================
"""
