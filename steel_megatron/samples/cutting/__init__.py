"""How documents are cut or packed into samples of one length."""
