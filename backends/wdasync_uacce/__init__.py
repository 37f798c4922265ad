"""The backend of wdasync for the uacce devices of Linux."""
