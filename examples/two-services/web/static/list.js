fetch('/api/planets')
  .then((response) => response.json())
  .then((planets) => {
    const list = document.getElementById('list');
    for (const planet of planets) {
      const item = document.createElement('li');
      item.textContent = planet;
      list.append(item);
    }
  });
