from django.db import models


class Message(models.Model):
    room = models.CharField(max_length=40, db_index=True)
    author = models.CharField(max_length=40)
    text = models.CharField(max_length=2000)
    at = models.DateTimeField(auto_now_add=True)

    def as_json(self):
        return {"id": self.id, "author": self.author, "text": self.text, "at": self.at.isoformat()}
