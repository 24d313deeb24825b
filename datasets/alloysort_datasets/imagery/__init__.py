"""The pictures: pieces of scrap painted without a renderer."""
